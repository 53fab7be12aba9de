"""The routes, one file a topic.

A new route goes into the file of its topic. Its parameters go into `questions.py` of
`service/http/schemas`, its answer into `answers.py` there. Only a new file must be added to
`TOPICS` of `app.py`. The class of its router's routes (`asking.py`) says whether a key is asked
for, and whether answers are kept.
"""
