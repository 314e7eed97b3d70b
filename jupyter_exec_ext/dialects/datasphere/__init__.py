"""DataSphere's REST API for running the notebooks of a project; a run is an operation there."""

from jupyter_exec_ext.dialects.base import Dialect
from jupyter_exec_ext.dialects.datasphere.base import UnknownHandler, UnservedHandler
from jupyter_exec_ext.dialects.datasphere.executions import (
    CancelHandler,
    CellOutputsHandler,
    ExecuteHandler,
    OperationHandler,
    StateVariablesHandler,
)
from jupyter_exec_ext.dialects.datasphere.options import DataSphere
from jupyter_exec_ext.dialects.datasphere.projects import (
    NotebookMetadataHandler,
    ProjectHandler,
    ProjectsHandler,
)

_API = "datasphere/(v[12])"
_PROJECT = f"{_API}/projects/([^/:]+?)"
_COLON = "(?::|%3[Aa])"
_OPERATION = "(?:datasphere/)?operations/([^/:]+?)"
_OTHER_METHODS = (
    "open|unitBalance|accessBindings|setAccessBindings|updateAccessBindings"
    "|addResource|removeResource|restrictions|setRestrictions"
)
_OTHER_KINDS = "communities|jobs|nodes|aliases|folders|appTokens|docker|dataset|s3"

DATASPHERE = Dialect(
    name="datasphere",
    options=DataSphere,
    routes=(
        (f"{_PROJECT}{_COLON}execute", ExecuteHandler),
        (f"{_PROJECT}{_COLON}stateVariables", StateVariablesHandler),
        (f"datasphere/(v1)/projects/([^/:]+?){_COLON}notebookMetadata", NotebookMetadataHandler),
        (f"{_PROJECT}{_COLON}cellOutputs", CellOutputsHandler),
        (f"datasphere/v[12]/projects/[^/]+{_COLON}(?:{_OTHER_METHODS})", UnservedHandler),
        (r"datasphere/v[12]/projects/(?:[^/]+/open|restrictionsMeta)", UnservedHandler),
        (rf"datasphere/v[12]/(?:{_OTHER_KINDS})(?:[:/%].*)?", UnservedHandler),
        (f"{_API}/projects", ProjectsHandler),
        (_PROJECT, ProjectHandler),
        (f"{_OPERATION}{_COLON}cancel", CancelHandler),
        (_OPERATION, OperationHandler),
        (r"(?:datasphere|operations)(?:/.*)?", UnknownHandler),
    ),
)
