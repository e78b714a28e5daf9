from kfp import dsl


@dsl.component
def check(limit: int) -> int:
    print("checking")
    if limit > 3:
        raise ValueError(f"{limit} is too much")
    return limit


@dsl.pipeline(name="fails")
def fails(limit: int = 5) -> int:
    return check(limit=limit).output
