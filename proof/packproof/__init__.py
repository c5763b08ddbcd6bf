"""What a stranger runs: open an evidence bundle and work every number out again, with public keys alone.

It belongs neither to the box nor to the book, so that neither can lean on its verdict: of the box it uses the pure
arithmetic (`packbox.core`), of the contract everything, of the book nothing.
"""
