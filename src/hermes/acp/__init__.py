"""The agent in an editor: the Agent Client Protocol on stdin and stdout. A prompt is a run of a session of the store.

`editor.py` has a method for each request of the protocol; `serve.py` is the process's side.
"""
