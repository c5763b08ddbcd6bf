"""The book: signed records become battery histories that people and passports can read. See docs/flow.md."""
