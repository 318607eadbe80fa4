"""What the shop sells."""

from collections.abc import Iterable
from dataclasses import dataclass


class UnknownProduct(LookupError):
    """The shop does not sell this."""


@dataclass(frozen=True)
class Product:
    sku: str
    name: str
    price: int
    grams: int


class Catalog:
    """Products by their stock-keeping unit."""

    def __init__(self, products: Iterable[Product] = ()):
        self._products = {product.sku: product for product in products}

    def find(self, sku: str) -> Product:
        try:
            return self._products[sku]
        except KeyError:
            raise UnknownProduct(sku) from None

    def search(self, words: str) -> list[Product]:
        """Return products whose name holds every word, cheapest first."""
        wanted = words.lower().split()
        hits = [p for p in self._products.values() if all(w in p.name.lower() for w in wanted)]
        return sorted(hits, key=lambda product: (product.price, product.name))
