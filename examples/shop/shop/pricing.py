"""What a cart costs.

There are bulk discounts, but no vouchers yet.
"""

from dataclasses import dataclass

from shop.cart import Cart, Line
from shop.money import percent

TAX = {"DE": 19, "AT": 20, "FR": 20, "CH": 8}
BULK_FROM = 10
BULK_RATE = 5
SHIPPING_PER_KILO = 190
FREE_SHIPPING_FROM = 5000


@dataclass(frozen=True)
class Quote:
    """Every amount of an order; `total` is what the customer pays."""

    goods: int
    discount: int
    shipping: int
    tax: int

    @property
    def total(self) -> int:
        return self.goods - self.discount + self.shipping + self.tax


def bulk_discount(line: Line) -> int:
    return percent(line.price, BULK_RATE) if line.quantity >= BULK_FROM else 0


def shipping(cart: Cart, goods: int) -> int:
    """Charge each kilo that was begun, unless the goods are worth enough."""
    grams = sum(line.product.grams * line.quantity for line in cart)
    if goods >= FREE_SHIPPING_FROM:
        return 0
    return -(-grams // 1000) * SHIPPING_PER_KILO


def quote(cart: Cart, *, country: str) -> Quote:
    if country not in TAX:
        raise ValueError(f"the shop does not ship to {country!r}")
    goods = sum(line.price for line in cart)
    discount = sum(bulk_discount(line) for line in cart)
    freight = shipping(cart, goods - discount)
    tax = percent(goods - discount + freight, TAX[country])
    return Quote(goods, discount, freight, tax)
