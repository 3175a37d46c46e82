"""Helpers and fixtures that tests of several directories use."""
