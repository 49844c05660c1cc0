"""For every test: hypothesis has no deadline, since the machines that run the tests are shared and slow at times."""

from hypothesis import settings

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")
