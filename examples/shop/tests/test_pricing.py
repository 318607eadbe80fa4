import unittest

from shop.cart import Cart
from shop.pricing import quote
from shop.receipt import receipt
from tests import small_catalog


class PricingTest(unittest.TestCase):
    def setUp(self):
        self.cart = Cart(small_catalog())

    def test_ten_of_a_kind_are_cheaper(self):
        self.cart.add("TEA", 10)
        self.assertEqual(225, quote(self.cart, country="DE").discount)

    def test_shipping_is_charged_by_the_kilo_that_was_begun(self):
        self.cart.add("CUP", 4)
        self.assertEqual(380, quote(self.cart, country="DE").shipping)

    def test_a_big_order_ships_free(self):
        self.cart.add("POT", 2)
        self.assertEqual(0, quote(self.cart, country="DE").shipping)

    def test_the_total_is_the_sum_of_its_parts(self):
        self.cart.add("TEA", 2)
        price = quote(self.cart, country="CH")
        self.assertEqual((900, 0, 190), (price.goods, price.discount, price.shipping))
        self.assertEqual((87, 1177), (price.tax, price.total))

    def test_a_country_without_a_tax_rate_is_refused(self):
        with self.assertRaises(ValueError):
            quote(self.cart, country="XX")

    def test_every_row_of_a_receipt_has_the_same_width(self):
        self.cart.add("POT")
        rows = receipt(self.cart, quote(self.cart, country="DE")).splitlines()
        self.assertEqual({40}, {len(row) for row in rows})
        self.assertIn("Total", rows[-1])
