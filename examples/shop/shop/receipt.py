"""Receipts for people. A spreadsheet cannot read them yet."""

from shop.cart import Cart
from shop.money import show
from shop.pricing import Quote

WIDTH = 40


def _row(label: str, amount: int) -> str:
    money = show(amount)
    return f"{label[: WIDTH - len(money) - 1]:<{WIDTH - len(money)}}{money}"


def receipt(cart: Cart, quote: Quote) -> str:
    """Return lines of equal width: the goods, then every amount that is not zero."""
    rows = [_row(f"{line.quantity} x {line.product.name}", line.price) for line in cart]
    rows.append("-" * WIDTH)
    if quote.discount:
        rows.append(_row("Discount", -quote.discount))
    if quote.shipping:
        rows.append(_row("Shipping", quote.shipping))
    rows += [_row("Tax", quote.tax), _row("Total", quote.total)]
    return "\n".join(rows) + "\n"
