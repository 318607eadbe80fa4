"""Run them with `python3 -m unittest`."""

from shop.catalog import Catalog, Product


def small_catalog() -> Catalog:
    return Catalog(
        [
            Product("TEA", "Green tea", price=450, grams=100),
            Product("POT", "Tea pot", price=2990, grams=850),
            Product("CUP", "Cup", price=799, grams=300),
        ]
    )
