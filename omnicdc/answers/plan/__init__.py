"""Answers what a write of CMP, or a rebuild, would change in the registries, before it is made.

`trial` runs statements in a transaction that is rolled back, `rendering` renders the registries before and
after them, `effect` compares both. `static` judges a statement by its text alone. The clients that change CMP
plan with the same `rendering`.
"""
