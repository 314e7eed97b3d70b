"""Where the files of sessions are: on the server's disk, or wherever its contents manager is."""
