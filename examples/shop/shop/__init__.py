"""Products, a cart, prices and receipts. All money is whole cents."""
