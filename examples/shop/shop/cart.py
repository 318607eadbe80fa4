"""What somebody wants to buy.

A cart takes any quantity: it does not know yet how much of a product there is.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from shop.catalog import Catalog, Product


@dataclass(frozen=True)
class Line:
    product: Product
    quantity: int

    @property
    def price(self) -> int:
        return self.product.price * self.quantity


class Cart:
    """Quantities of products, in the order in which they were first added."""

    def __init__(self, catalog: Catalog):
        self._catalog = catalog
        self._quantities: dict[str, int] = {}

    def add(self, sku: str, quantity: int = 1) -> None:
        if quantity < 1:
            raise ValueError(f"a quantity is at least 1, not {quantity}")
        product = self._catalog.find(sku)
        self._quantities[product.sku] = self._quantities.get(product.sku, 0) + quantity

    def remove(self, sku: str) -> None:
        """Take a product out, however many there are. Does nothing when it is not in the cart."""
        self._quantities.pop(sku, None)

    def __iter__(self) -> Iterator[Line]:
        for sku, quantity in self._quantities.items():
            yield Line(self._catalog.find(sku), quantity)

    def __len__(self) -> int:
        """Count the pieces, not the lines."""
        return sum(self._quantities.values())
