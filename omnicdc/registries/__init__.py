"""What each registry should hold: scanners, their rows, the rendered document. No file is touched."""
