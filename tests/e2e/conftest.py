"""What is about the embedded stack only is not collected where the containers are tested."""

from tests.deployed import IN_CONTAINERS

collect_ignore = ["test_embedded.py"] if IN_CONTAINERS else []
