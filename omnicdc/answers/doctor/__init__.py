"""Answers `omnicdc doctor`: checks everything that a working estate needs, in order. Nothing is written.

`checks` lists the checks, `running` runs them, `site` is what they look at, `finding` is what they return.
"""
