"""How changes of CMP's table are noted in the log, read without gaps, and routed to their scanners."""
