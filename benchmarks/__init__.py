"""How fast the recursion is, beside a real server and beside what it must cost at least."""
