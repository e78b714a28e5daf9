-- What remote places call things that their runs name by ids: experiments, versions of pipelines.

CREATE TABLE names (
  place TEXT NOT NULL,
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  PRIMARY KEY (place, kind, id)
) STRICT, WITHOUT ROWID;
