"""How Link is reached by HTTP. The only Starlette of Link."""
