-- a run of layout 2
PRAGMA application_id = 1146244944;
PRAGMA user_version = 2;
BEGIN TRANSACTION;
CREATE TABLE batches (
    arm TEXT NOT NULL,
    seed INTEGER NOT NULL,
    step INTEGER NOT NULL CHECK (step >= 1),
    loss REAL,
    PRIMARY KEY (arm, seed, step),
    FOREIGN KEY (arm, seed) REFERENCES members (arm, seed)
) WITHOUT ROWID;
INSERT INTO "batches" VALUES('half',7,2,0.5);
INSERT INTO "batches" VALUES('none',0,2,0.5);
CREATE TABLE epochs (
    arm TEXT NOT NULL,
    seed INTEGER NOT NULL,
    epoch INTEGER NOT NULL CHECK (epoch >= 1),
    train_loss_running REAL, train_accuracy_running REAL, train_loss REAL, train_accuracy REAL, val_loss REAL, val_accuracy REAL, val_ece REAL, seconds REAL, 
    PRIMARY KEY (arm, seed, epoch),
    FOREIGN KEY (arm, seed) REFERENCES members (arm, seed)
) WITHOUT ROWID;
INSERT INTO "epochs" VALUES('half',7,1,0.9,0.7,0.6,0.8,0.7,0.75,0.02,1.5);
INSERT INTO "epochs" VALUES('none',0,1,0.9,0.7,0.6,0.8,0.7,0.75,0.02,1.5);
INSERT INTO "epochs" VALUES('none',0,2,0.8,0.75,0.5,0.85,NULL,0.8,0.03,1.25);
CREATE TABLE members (
    position INTEGER NOT NULL UNIQUE,
    arm TEXT NOT NULL,
    seed INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'done', 'nan')),
    epochs_done INTEGER NOT NULL DEFAULT 0,
    message TEXT NOT NULL DEFAULT '',
    checkpoint TEXT,
    PRIMARY KEY (arm, seed)
) WITHOUT ROWID;
INSERT INTO "members" VALUES(2,'half',0,'waiting',0,'',NULL);
INSERT INTO "members" VALUES(3,'half',7,'waiting',1,'',NULL);
INSERT INTO "members" VALUES(0,'none',0,'waiting',2,'',NULL);
INSERT INTO "members" VALUES(1,'none',7,'waiting',0,'',NULL);
CREATE TABLE notes (
    name TEXT PRIMARY KEY,
    text TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE run (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO "run" VALUES('checksum','fdf66a8786356eb4a560816b25a94e80b559a631c1dce011e0a7b2fe36f9040b');
INSERT INTO "run" VALUES('created','2026-11-28T04:48:48+00:00');
INSERT INTO "run" VALUES('digest','b2cfa158ecb2013d84f4a10e42846e4d8f7387e509b8ed359a788b3f47bb0329');
INSERT INTO "run" VALUES('environment','{"python": "CPython 3.11"}');
INSERT INTO "run" VALUES('plan','{}');
INSERT INTO "run" VALUES('recipe','name = "tiny"
epochs = 2
batch_size = 64
seeds = [
    0,
    7,
]
primary = "val_loss"
arms = [
    { name = "none" },
    { name = "half", rates = { fc2 = 0.5 } },
]

[data]
name = "digits"

[model]
path = "mlp"
in_features = 64

[optimizer]
name = "Adam"
lr = 0.001
');
CREATE TABLE tests (
    arm TEXT NOT NULL,
    seed INTEGER NOT NULL,
    loss REAL,
    accuracy REAL,
    ece REAL,
    PRIMARY KEY (arm, seed),
    FOREIGN KEY (arm, seed) REFERENCES members (arm, seed)
) WITHOUT ROWID;
INSERT INTO "tests" VALUES('none',0,0.5,0.8,0.03);
COMMIT;
