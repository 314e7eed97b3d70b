"""Handlers of projects, which are folders, and of what is in them."""

from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from tornado.web import authenticated

from jupyter_exec_ext.core.errors import NotebookNotFoundError, NotFoundError
from jupyter_exec_ext.core.models import NotebookSource
from jupyter_exec_ext.dialects.datasphere.handler import DataSphereHandler
from jupyter_exec_ext.dialects.datasphere.operations import timestamp
from jupyter_exec_ext.dialects.datasphere.requests import (
    CELL_MARK,
    ListProjectsRequest,
    NotebookMetadataRequest,
    path_of,
)
from jupyter_exec_ext.web.reading import read_count
from jupyter_exec_ext.web.rights import authorized

COMMUNITY_ID = "default"
"""All projects are in one community, or folder; what clients name is not looked at."""

DEFAULT_PAGE_SIZE = 100


class ProjectHandler(DataSphereHandler):
    """One project, which is a folder."""

    @authenticated
    @authorized(action="read", resource="contents")
    async def get(self, version: str, project_id: str) -> None:
        """Show it."""
        project = await _project_of(self, version, project_id)
        if project is None:
            raise NotFoundError(f"no project {project_id[:64]!r}", target="projectId")
        self.write_value(project)


class ProjectsHandler(DataSphereHandler):
    """All projects whose folder is there."""

    @authenticated
    @authorized(action="read", resource="contents")
    async def get(self, version: str) -> None:
        """List them by their ids, a page at a time."""
        request = self.read_request(ListProjectsRequest)
        size = None if request.page_size is None else str(request.page_size)
        maximum = self.dialect_options.max_page_size
        count = read_count(
            "pageSize", size, default=min(DEFAULT_PAGE_SIZE, maximum), maximum=maximum
        )
        found = []
        for project_id in self._ids_of(request):
            project = await _project_of(self, version, project_id)
            if project is not None:
                found.append(project)
            if len(found) > count:
                break
        shown: dict[str, Any] = {"projects": found[:count]}
        if len(found) > count:
            shown["nextPageToken"] = found[count - 1]["id"]
        self.write_value(shown)

    def _ids_of(self, request: ListProjectsRequest) -> list[str]:
        """Return the ids of the projects that match, after the page before."""
        pattern = (request.project_name_pattern or "*").lower()
        if "*" not in pattern:
            pattern = f"*{pattern}*"
        return [
            project_id
            for project_id in sorted(self.dialect_options.projects)
            if fnmatchcase(project_id.lower(), pattern) and project_id > (request.page_token or "")
        ]


class NotebookMetadataHandler(DataSphereHandler):
    """What a notebook consists of."""

    @authenticated
    @authorized(action="read", resource="contents")
    async def get(self, _version: str, project_id: str) -> None:
        """Show it."""
        folder = self.folder_of(project_id)
        request = self.read_request(NotebookMetadataRequest)
        notebook_id = self.checked(request.notebook_path, "notebookPath")
        path = path_of(notebook_id, folder)
        notebooks = self.services.notebooks
        source = NotebookSource(path=path)
        snapshot = await notebooks.read(source, max_bytes=self.services.limits.max_notebook_bytes)
        entry = await notebooks.entry(path)
        if entry is None:
            raise NotebookNotFoundError
        shown: dict[str, Any] = {"notebookId": notebook_id, **_times_of(entry.created_time)}
        if entry.modified_time is not None:
            shown["modifiedAt"] = timestamp(entry.modified_time)
        if entry.size_bytes is not None:
            shown["contentLength"] = str(entry.size_bytes)
        shown["cellIds"] = [
            f"{notebook_id}{CELL_MARK}{cell['id']}"
            for cell in snapshot.notebook["cells"]
            if cell.get("id")
        ]
        self.write_value(shown)


async def _project_of(
    handler: DataSphereHandler, version: str, project_id: str
) -> dict[str, Any] | None:
    """Return a project as it is shown; ``None`` when its folder is not there."""
    entry = await handler.services.notebooks.entry(handler.folder_of(project_id))
    if entry is None or not entry.is_folder:
        return None
    settings = {"ide": "JUPYTER_LAB"}
    if version == "v2":
        settings["defaultDedicatedSpec"] = handler.services.kernelspecs.default_name
    return {
        "id": project_id,
        **_times_of(entry.created_time),
        "name": project_id,
        "createdById": handler.current_user.username,
        "settings": settings,
        "communityId" if version == "v2" else "folderId": COMMUNITY_ID,
    }


def _times_of(created_time: datetime | None) -> dict[str, str]:
    return {} if created_time is None else {"createdAt": timestamp(created_time)}
