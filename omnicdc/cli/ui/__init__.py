"""The page `omnicdc ui`: shows the estate in a browser. It reads only."""
