"""The speed of the recursion, beside other servers and the least that it must cost."""
