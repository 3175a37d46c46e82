"""The benchmark: the costs of omnicdc, compared with simpler programs: `make bench`, `make bench-quick`."""
