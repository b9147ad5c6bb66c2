"""The same model call behind other servers, each run in an environment of its own that has neither ours nor torch.

`python FILE PORT MODEL`: POST /next takes `{"tracks", "outcomes", "count"}`, rows and outcome numbers, and answers with rows
and scores. So a rival is spared what our route does: looking ids up, checking them, and naming the tracks of the reply.
"""
