"""Handlers of projects, which are folders, and of what is in them."""

from datetime import datetime
from typing import Any

from tornado.web import authenticated

from jupyter_exec_ext.core.errors import InvalidArgumentError, NotebookNotFoundError
from jupyter_exec_ext.core.models import NotebookSource
from jupyter_exec_ext.dialects.datasphere.base import DataSphereHandler
from jupyter_exec_ext.dialects.datasphere.errors import ProjectNotFoundError
from jupyter_exec_ext.dialects.datasphere.operations import timestamp
from jupyter_exec_ext.dialects.datasphere.requests import (
    CELL_MARK,
    ListProjectsRequest,
    NotebookMetadataRequest,
    check_length,
    is_match,
    path_of,
)
from jupyter_exec_ext.web.reading import read_count
from jupyter_exec_ext.web.rights import authorized

COMMUNITY_ID = "default"
"""All projects are in one community, or folder; what clients name is not looked at."""


class _ProjectsHandler(DataSphereHandler):
    """What the handlers of projects share."""

    async def project_of(self, version: str, project_id: str) -> dict[str, Any] | None:
        """Return a project as it is shown; ``None`` when its folder is not there."""
        entry = await self.services.notebooks.entry(self.folder_of(version, project_id))
        if entry is None or not entry.is_folder:
            return None
        settings = {"ide": "JUPYTER_LAB"}
        if version == "v2":
            settings["defaultDedicatedSpec"] = self.services.kernelspecs.default_name
        return {
            "id": project_id,
            **_times_of(entry.created_time),
            "name": project_id,
            "createdById": self.current_user.username,
            "settings": settings,
            "communityId" if version == "v2" else "folderId": COMMUNITY_ID,
        }


class ProjectHandler(_ProjectsHandler):
    """One project, which is a folder."""

    @authenticated
    @authorized(action="read", resource="contents")
    async def get(self, version: str, project_id: str) -> None:
        """Show it."""
        project = await self.project_of(version, project_id)
        if project is None:
            raise ProjectNotFoundError(project_id)
        self.write_value(project)


class ProjectsHandler(_ProjectsHandler):
    """All projects whose folder is there."""

    @authenticated
    @authorized(action="read", resource="contents")
    async def get(self, version: str) -> None:
        """List them by their ids, a page at a time."""
        request = await self.read_request(ListProjectsRequest)
        count = self._count_of(request)
        found = []
        for project_id in self._ids_of(request):
            project = await self.project_of(version, project_id)
            if project is not None:
                found.append(project)
            if len(found) > count:
                break
        shown: dict[str, Any] = {"projects": found[:count]}
        if len(found) > count:
            shown["nextPageToken"] = found[count - 1]["id"]
        self.write_value(shown)

    def _count_of(self, request: ListProjectsRequest) -> int:
        size, maximum = request.page_size, self.dialect_options.max_page_size
        if isinstance(size, float) and size.is_integer():
            size = int(size)
        text = None if size is None else str(size)
        count = read_count("pageSize", text, default=maximum, maximum=maximum + 1)
        if count > maximum:
            raise InvalidArgumentError(f"pageSize is at most {maximum}", target="pageSize")
        return count

    def _ids_of(self, request: ListProjectsRequest) -> list[str]:
        """Return the ids of the projects that match, after the page before."""
        options = self.dialect_options
        pattern, token = request.project_name_pattern or "", request.page_token or ""
        check_length(pattern, limit=options.max_id_length, field="projectNamePattern")
        check_length(token, limit=options.max_page_token_length, field="pageToken")
        return [
            project_id
            for project_id in sorted(options.projects)
            if project_id > token and is_match(project_id, pattern)
        ]


class NotebookMetadataHandler(DataSphereHandler):
    """What a notebook consists of."""

    @authenticated
    @authorized(action="read", resource="contents")
    async def get(self, version: str, project_id: str) -> None:
        """Show it."""
        folder = self.folder_of(version, project_id)
        request = await self.read_request(NotebookMetadataRequest)
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


def _times_of(created_time: datetime | None) -> dict[str, str]:
    return {} if created_time is None else {"createdAt": timestamp(created_time)}
