"""Pages of an account's money; each calls the verb that the API calls."""
