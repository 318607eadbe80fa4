import unittest

from shop.cart import Cart
from shop.catalog import UnknownProduct
from tests import small_catalog


class CartTest(unittest.TestCase):
    def setUp(self):
        self.cart = Cart(small_catalog())

    def test_the_same_product_twice_is_one_line(self):
        self.cart.add("TEA")
        self.cart.add("TEA", 2)
        self.assertEqual([("TEA", 3)], [(line.product.sku, line.quantity) for line in self.cart])

    def test_a_product_nobody_sells_is_refused(self):
        with self.assertRaises(UnknownProduct):
            self.cart.add("SUGAR")

    def test_less_than_one_piece_is_refused(self):
        with self.assertRaises(ValueError):
            self.cart.add("TEA", 0)

    def test_what_was_removed_is_gone_altogether(self):
        self.cart.add("TEA", 2)
        self.cart.remove("TEA")
        self.assertEqual(0, len(self.cart))

    def test_a_search_needs_every_word_and_shows_the_cheapest_first(self):
        found = [product.sku for product in small_catalog().search("tea")]
        self.assertEqual(["TEA", "POT"], found)
