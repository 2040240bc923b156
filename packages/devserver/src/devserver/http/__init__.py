"""The API and the message port over HTTP.

- `api`: the routes of the API. `requests` and `responses` read and write their content.
- `stream`: the message port.
- `guard`: refuses requests of web pages. `auth`: basic authentication.
"""
