BEGIN TRANSACTION;
CREATE TABLE generation (
    id INTEGER PRIMARY KEY, identity TEXT NOT NULL, source TEXT NOT NULL,
    first INTEGER NOT NULL, count INTEGER NOT NULL, picked BLOB
);
INSERT INTO "generation" VALUES(1,'[": seed {seed}; echo epoch {x} loss=0.{x}; case {x} in 2) echo ''ValueError: bad lr''; exit 3;; 3) sleep 60;; 4) echo ''torch.OutOfMemoryError: CUDA out of memory.''; exit 1;; 5|6) touch \"$SWEEP_RUN_DIR/began\"; sleep 60;; esac","--{name}={value}"]','command: >-
  : seed {seed}; echo epoch {x} loss=0.{x}; case {x} in 2) echo ''ValueError: bad lr''; exit 3;; 3) sleep 60;;
  4) echo ''torch.OutOfMemoryError: CUDA out of memory.''; exit 1;; 5|6) touch "$SWEEP_RUN_DIR/began"; sleep 60;; esac
grid:
  x: [1, 2, 3, 4, 5, 6, 7, 8]
repeat: {seed: 0}
minimize: loss
timeout: 5s
gpus: 0
',1,8,NULL);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('source','command: >-
  : seed {seed}; echo epoch {x} loss=0.{x}; case {x} in 2) echo ''ValueError: bad lr''; exit 3;; 3) sleep 60;;
  4) echo ''torch.OutOfMemoryError: CUDA out of memory.''; exit 1;; 5|6) touch "$SWEEP_RUN_DIR/began"; sleep 60;; esac
grid:
  x: [1, 2, 3, 4, 5, 6, 7, 8]
repeat: {seed: 0}
minimize: loss
timeout: 5s
gpus: 0
');
INSERT INTO "meta" VALUES('wish','{"file": "/home/user/project/old.yaml", "environment": 1, "parallel": 1, "want": "run", "why": "", "session": "sweep-old", "here": false, "options": {"gpu": {"count": 0, "allowed": null, "per_gpu": 1, "memory": 0, "busy_above": 500000000, "ignore_others": false, "keep_free": 0, "more_than": 0}, "hold": false, "cwd": "/home/user/project"}}');
CREATE TABLE runs (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, params TEXT NOT NULL, texts TEXT NOT NULL, folder TEXT,
    state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0,
    ooms INTEGER NOT NULL DEFAULT 0, losses INTEGER NOT NULL DEFAULT 0, exit_code INTEGER, signal INTEGER,
    note TEXT NOT NULL DEFAULT '', started REAL, ended REAL, gpus TEXT NOT NULL DEFAULT '[]', host TEXT,
    wanted INTEGER NOT NULL DEFAULT 1, stop INTEGER NOT NULL DEFAULT 0
);
INSERT INTO "runs" VALUES(1,'96149d25e35ea5d4','{"x": 1, "seed": 0}','{"x": "1", "seed": "0"}','0001-x=1,seed=0','done',1,0,0,0,0,NULL,'',1.79523617779803729057e+09,1.79523617780567526815e+09,'[]','gpu-server',1,0);
INSERT INTO "runs" VALUES(2,'680489f7a40471a4','{"x": 2, "seed": 0}','{"x": "2", "seed": "0"}','0002-x=2,seed=0','failed',1,1,0,0,3,NULL,'exit status 3: ValueError: bad lr',1.79523617783082199096e+09,1.79523617783763837817e+09,'[]','gpu-server',1,0);
INSERT INTO "runs" VALUES(3,'3e67edcb0786e436','{"x": 3, "seed": 0}','{"x": "3", "seed": "0"}','0003-x=3,seed=0','timeout',1,1,0,0,NULL,15,'longer than its timeout of 5 s',1.79523617786027216906e+09,1.79523618287055468562e+09,'[]','gpu-server',1,0);
INSERT INTO "runs" VALUES(4,'ef57c25213f70d2a','{"x": 4, "seed": 0}','{"x": "4", "seed": "0"}','0004-x=4,seed=0','out_of_memory',1,0,1,0,1,NULL,'exit status 1: out of GPU memory',1.79523618287138891219e+09,1.79523618287232637402e+09,'[]','gpu-server',1,0);
INSERT INTO "runs" VALUES(5,'16c8e4f36fbc54b4','{"x": 5, "seed": 0}','{"x": "5", "seed": "0"}','0005-x=5,seed=0','stopped',1,0,0,0,NULL,15,'stopped by its user',1.79523618287361645695e+09,1.7952361831095721722e+09,'[]','gpu-server',1,0);
INSERT INTO "runs" VALUES(6,'999197ce7770d388','{"x": 6, "seed": 0}','{"x": "6", "seed": "0"}','0006-x=6,seed=0','queued',0,0,0,0,NULL,NULL,'',NULL,NULL,'[]',NULL,1,0);
INSERT INTO "runs" VALUES(7,'5522b5598bc8735a','{"x": 7, "seed": 0}','{"x": "7", "seed": "0"}','0007-x=7,seed=0','queued',0,0,0,0,NULL,NULL,'',NULL,NULL,'[]',NULL,1,0);
CREATE TABLE wanted (id INTEGER PRIMARY KEY CHECK (id = 1), first INTEGER, count INTEGER, numbers BLOB);
INSERT INTO "wanted" VALUES(1,1,8,NULL);
CREATE INDEX by_state ON runs (wanted, state);
COMMIT;
