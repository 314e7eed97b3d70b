"""DataSphere's REST API for running the notebooks of a project; a run is an operation there."""

from jupyter_exec_ext.dialects.base import Dialect
from jupyter_exec_ext.dialects.datasphere.options import DataSphere
from jupyter_exec_ext.dialects.datasphere.routes import ROUTES

DATASPHERE = Dialect(name="datasphere", options=DataSphere, routes=ROUTES)
