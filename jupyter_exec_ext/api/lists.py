"""What all lists have in common: their order, and their pages."""

from typing import Any, TypedDict, get_args

from jupyter_exec_ext.api.operations import Parameter
from jupyter_exec_ext.store.listing import OrderBy
from jupyter_exec_ext.web.handler import ExecHandler
from jupyter_exec_ext.web.reading import read_choice, read_count

DEFAULT_PAGE_SIZE = 100

_ORDERS: dict[str, OrderBy] = {order: order for order in get_args(OrderBy)}

PAGE_PARAMETERS = (
    Parameter(
        name="page_size",
        description="How many at most: 0 is the default, and more than `max_page_size` is"
        " `max_page_size`.",
        schema={"type": "integer", "minimum": 0, "default": DEFAULT_PAGE_SIZE},
    ),
    Parameter(
        name="page_token",
        description="`next_page_token` of the page before, with the same filters.",
        schema={"type": "string"},
    ),
)

LIST_PARAMETERS = (
    Parameter(
        name="order_by",
        description="By creation, oldest or newest first.",
        schema={"type": "string", "enum": list(_ORDERS), "default": "-created_time"},
    ),
    *PAGE_PARAMETERS,
)


class ListArguments(TypedDict):
    """What `LIST_PARAMETERS` say, as the queries of `store.listing` take it."""

    order_by: OrderBy
    page_size: int
    page_token: str | None


def read_list_arguments(handler: ExecHandler, *, max_page_size: int) -> ListArguments:
    """Return what a request says of order and page.

    Raises:
        MalformedRequestError: It cannot be understood.
    """

    def argument(name: str) -> Any:
        return handler.get_query_argument(name, None)

    return {
        "order_by": read_choice("order_by", argument("order_by") or "-created_time", _ORDERS),
        "page_size": read_page_size(handler, max_page_size=max_page_size),
        "page_token": argument("page_token") or None,
    }


def read_page_size(handler: ExecHandler, *, max_page_size: int) -> int:
    """Return how many entries a request wants at most.

    Raises:
        MalformedRequestError: It is no number.
    """
    text = handler.get_query_argument("page_size", None)
    return read_count("page_size", text, default=DEFAULT_PAGE_SIZE, maximum=max_page_size)
