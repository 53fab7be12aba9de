"""The routes, one file a topic.

A new route goes into the file of its topic. Its parameters go into `questions.py` of
`service/http/schemas`, its answer into `answers.py` there. Only a new file must be added in
`_add_routes` of `app.py`.
"""
