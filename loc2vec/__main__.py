"""`python -m loc2vec`, also for `torchrun -m loc2vec train`: the same program as `loc2vec`."""

from service.cli.main import main

if __name__ == "__main__":
    main()
