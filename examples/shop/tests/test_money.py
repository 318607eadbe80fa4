import unittest

from shop.money import cents, percent, show


class MoneyTest(unittest.TestCase):
    def test_an_amount_survives_reading_and_showing(self):
        for text in ("0.00", "0.05", "12.50", "1999.99"):
            self.assertEqual(text, show(cents(text)))

    def test_half_an_amount_is_no_amount(self):
        for text in ("", "1.5", "1,50", "-1", "1.505"):
            with self.subTest(text), self.assertRaises(ValueError):
                cents(text)

    def test_half_a_cent_is_rounded_up(self):
        self.assertEqual(1, percent(10, 5))
