"""Aliases of functions: each is kept in the notebook that it names."""

from dataclasses import dataclass

import anyio

from jupyter_exec_ext.core.errors import MalformedRequestError
from jupyter_exec_ext.dialects.qinling.details import Details, settings_of
from jupyter_exec_ext.dialects.qinling.errors import NotAllowedError, not_found
from jupyter_exec_ext.dialects.qinling.functions import Functions, times_of
from jupyter_exec_ext.dialects.qinling.wire import AliasView, alias_id_of, function_id_of
from jupyter_exec_ext.services.notebook_files import NotebookFile
from jupyter_exec_ext.services.notebook_format import Content

KEY = "aliases"


@dataclass(frozen=True, kw_only=True)
class Alias:
    """Another name of the function that *file* is."""

    name: str
    file: NotebookFile
    details: Details

    def view(self, project_id: str) -> AliasView:
        """Return it as Qinling shows it; its times are those of the notebook."""
        created, changed = times_of(self.file, self.details)
        return AliasView(
            id=alias_id_of(self.name),
            name=self.name,
            description=self.details.aliases.get(self.name, ""),
            function_id=function_id_of(self.file.path),
            project_id=project_id,
            created_at=created,
            updated_at=changed,
        )


class Aliases:
    """The aliases of one server. Of notebooks with the same one it is the first's by path."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._change = anyio.Lock()

    async def all(self) -> dict[str, Alias]:
        """Return them by name. What was not read since it changed is read, however much it is."""
        found: dict[str, Alias] = {}
        for file in await self._functions.files():
            details = await self._functions.details(file)
            for name in details.aliases:
                found.setdefault(name, Alias(name=name, file=file, details=details))
        return found

    async def find(self, name: str) -> Alias:
        """Return the alias *name*.

        Raises:
            NotFoundError: There is none.
        """
        found = (await self.all()).get(name)
        if found is None:
            raise not_found("FunctionAlias", name=name)
        return found

    async def of(self, file: NotebookFile) -> list[str]:
        """Return the names of the aliases that a function has."""
        if not (await self._functions.details(file)).aliases:
            return []
        return [name for name, alias in (await self.all()).items() if alias.file.path == file.path]

    async def delete_function(self, file: NotebookFile) -> None:
        """Delete a function; its executions stay.

        Raises:
            NotAllowedError: It has an alias.
            ExecError: The notebook cannot be deleted.
        """
        async with self._change:
            if await self.of(file):
                raise NotAllowedError("The function is still associated with function alias(es).")
            await self._functions.delete(file)

    async def create(self, name: str, file: NotebookFile, description: str) -> Alias:
        """Give a function an alias.

        Raises:
            MalformedRequestError: There is one with this name.
            ExecError: The notebook cannot be changed.
        """
        async with self._change:
            if name in await self.all():
                raise MalformedRequestError("Duplicate entry for FunctionAlias: ['name']")
            return await self._put(name, file, description)

    async def update(self, name: str, file: NotebookFile, description: str | None) -> Alias:
        """Give an alias to another function, and say something else of it; ``None`` stays.

        Raises:
            NotFoundError: There is no such alias.
            ExecError: A notebook cannot be changed.
        """
        async with self._change:
            old = await self.find(name)
            if description is None:
                description = old.details.aliases[name]
            new = await self._put(name, file, description)
            await self._remove(name, but=new.file.path)
            return new

    async def delete(self, name: str) -> None:
        """Delete an alias, from copies of its notebook too.

        Raises:
            NotFoundError: There is none.
            ExecError: A notebook cannot be changed.
        """
        async with self._change:
            await self.find(name)
            await self._remove(name)

    async def _put(self, name: str, file: NotebookFile, description: str) -> Alias:
        def put(notebook: Content) -> Content:
            settings = settings_of(notebook)
            kept = settings.get(KEY)
            settings[KEY] = {**(kept if isinstance(kept, dict) else {}), name: description}
            return notebook

        changed = await self._functions.change(file, put)
        return Alias(name=name, file=changed, details=await self._functions.details(changed))

    async def _remove(self, name: str, *, but: str | None = None) -> None:
        def remove(notebook: Content) -> Content:
            settings_of(notebook).get(KEY, {}).pop(name, None)
            return notebook

        for file in await self._functions.files():
            if file.path != but and name in (await self._functions.details(file)).aliases:
                await self._functions.change(file, remove)
