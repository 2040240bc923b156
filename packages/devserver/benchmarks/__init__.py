"""How fast the recursion and the server are, beside other connections and other servers."""
