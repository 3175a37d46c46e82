"""What omnicdc costs, measured against what it stands on: `make bench`, `make bench-quick`."""
