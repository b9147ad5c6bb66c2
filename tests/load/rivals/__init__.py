"""The same model call behind other servers, each run in an environment of its own that has neither ours nor torch.

`python FILE PORT MODEL`: POST /next takes `{"tracks", "outcomes", "count"}`, rows and outcome numbers, and answers with rows
and scores; BentoML and Triton want the same in another envelope. All run the very graph that our service runs, `model.onnx` of
the artifact with the item matrix as it was exported (int8 or fp32), on one thread of the same release of ONNX Runtime, for
the same histories and 20 tracks. So a rival is spared what our route does: looking ids up, checking them, and naming the
tracks of the reply.
"""
