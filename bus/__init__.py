"""The contract between the clients and the connection that carries it; imports no client."""
