"""A tool server that knows the orders of a shop; `tools.yaml` declares it.

It speaks the Model Context Protocol on its standard input and output. Its tools only read, so turns
that are finished are not repeated when a run is resumed.
"""

import csv
from pathlib import Path

from mcp.server.fastmcp import FastMCP
from mcp.server.fastmcp.exceptions import ToolError
from mcp.types import ToolAnnotations

READ_ONLY = ToolAnnotations(readOnlyHint=True, openWorldHint=False)
ORDERS = {
    row["order_number"]: row
    for row in csv.DictReader((Path(__file__).parent / "input" / "orders.csv").open())
}
DELIVERY_DAYS = {"standard": 4, "express": 1, "bulky goods": 9}

server = FastMCP("shop", log_level="WARNING")


@server.tool(annotations=READ_ONLY)
def find_order(order_number: str) -> dict[str, str]:
    """Find an order by its number, such as A-1042."""
    order = ORDERS.get(order_number.strip().upper())
    if order is None:  # the model can ask for the right number
        raise ToolError(f"there is no order {order_number!r}")
    return order


@server.tool(annotations=READ_ONLY)
def find_delivery_time(shipping: str) -> int:
    """Find how many days a kind of shipping takes: standard, express or bulky goods."""
    if shipping not in DELIVERY_DAYS:
        raise ToolError(f"use one of {', '.join(DELIVERY_DAYS)}")
    return DELIVERY_DAYS[shipping]


if __name__ == "__main__":
    server.run("stdio")
