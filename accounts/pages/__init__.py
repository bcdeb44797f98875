"""The pages by which people sign up, log in and look after their log-ins; each calls the verb that the API calls."""
