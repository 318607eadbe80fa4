"""Money as whole cents, because sums of floats drift."""


def cents(text: str) -> int:
    """Read an amount such as "12.50" or "3"."""
    whole, _, part = text.partition(".")
    if not whole.isdigit() or not (part == "" or (part.isdigit() and len(part) == 2)):
        raise ValueError(f"not an amount of money: {text!r}")
    return int(whole) * 100 + int(part or 0)


def show(amount: int) -> str:
    """Write an amount as "12.50"."""
    sign = "-" if amount < 0 else ""
    return f"{sign}{abs(amount) // 100}.{abs(amount) % 100:02}"


def percent(amount: int, rate: int) -> int:
    """Take `rate` percent of an amount that is not below zero, half a cent rounded up."""
    return (amount * rate + 50) // 100
