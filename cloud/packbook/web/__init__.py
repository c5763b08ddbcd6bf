"""What people see: pages in Japanese and English, and the JSON API behind them."""
