"""What the server-rendered pages of all apps are built of."""
