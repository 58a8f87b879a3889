-- a run of layout 4
PRAGMA application_id = 1146244944;
PRAGMA user_version = 4;
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
CREATE TABLE blocks (
    arm TEXT NOT NULL,
    seed INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    value_1 REAL, value_2 REAL, value_3 REAL, value_4 REAL, value_5 REAL, value_6 REAL, value_7 REAL, value_8 REAL, weight_1 REAL, weight_2 REAL, weight_3 REAL, weight_4 REAL, weight_5 REAL, weight_6 REAL, weight_7 REAL, weight_8 REAL,
    PRIMARY KEY (arm, seed, epoch),
    FOREIGN KEY (arm, seed, epoch) REFERENCES epochs (arm, seed, epoch)
) WITHOUT ROWID;
CREATE TABLE epoch_values (
    arm TEXT NOT NULL,
    seed INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    metric TEXT NOT NULL,
    value REAL,
    PRIMARY KEY (arm, seed, epoch, metric),
    FOREIGN KEY (arm, seed, epoch) REFERENCES epochs (arm, seed, epoch)
) WITHOUT ROWID;
INSERT INTO "epoch_values" VALUES('half',7,1,'gap',5.00000000000000444089e-02);
INSERT INTO "epoch_values" VALUES('half',7,1,'train_accuracy',0.8);
INSERT INTO "epoch_values" VALUES('half',7,1,'train_accuracy_running',0.7);
INSERT INTO "epoch_values" VALUES('half',7,1,'train_loss',0.6);
INSERT INTO "epoch_values" VALUES('half',7,1,'train_loss_running',0.9);
INSERT INTO "epoch_values" VALUES('half',7,1,'val_accuracy',0.75);
INSERT INTO "epoch_values" VALUES('half',7,1,'val_ece',0.02);
INSERT INTO "epoch_values" VALUES('half',7,1,'val_loss',0.7);
INSERT INTO "epoch_values" VALUES('none',0,1,'gap',5.00000000000000444089e-02);
INSERT INTO "epoch_values" VALUES('none',0,1,'train_accuracy',0.8);
INSERT INTO "epoch_values" VALUES('none',0,1,'train_accuracy_running',0.7);
INSERT INTO "epoch_values" VALUES('none',0,1,'train_loss',0.6);
INSERT INTO "epoch_values" VALUES('none',0,1,'train_loss_running',0.9);
INSERT INTO "epoch_values" VALUES('none',0,1,'val_accuracy',0.75);
INSERT INTO "epoch_values" VALUES('none',0,1,'val_ece',0.02);
INSERT INTO "epoch_values" VALUES('none',0,1,'val_loss',0.7);
INSERT INTO "epoch_values" VALUES('none',0,2,'gap',4.99999999999999333866e-02);
INSERT INTO "epoch_values" VALUES('none',0,2,'train_accuracy',0.85);
INSERT INTO "epoch_values" VALUES('none',0,2,'train_accuracy_running',0.75);
INSERT INTO "epoch_values" VALUES('none',0,2,'train_loss',0.5);
INSERT INTO "epoch_values" VALUES('none',0,2,'train_loss_running',0.8);
INSERT INTO "epoch_values" VALUES('none',0,2,'val_accuracy',0.8);
INSERT INTO "epoch_values" VALUES('none',0,2,'val_ece',0.03);
INSERT INTO "epoch_values" VALUES('none',0,2,'val_loss',NULL);
CREATE TABLE epochs (
    arm TEXT NOT NULL,
    seed INTEGER NOT NULL,
    epoch INTEGER NOT NULL CHECK (epoch >= 1),
    seconds REAL,
    PRIMARY KEY (arm, seed, epoch),
    FOREIGN KEY (arm, seed) REFERENCES members (arm, seed)
) WITHOUT ROWID;
INSERT INTO "epochs" VALUES('half',7,1,1.5);
INSERT INTO "epochs" VALUES('none',0,1,1.5);
INSERT INTO "epochs" VALUES('none',0,2,1.25);
CREATE TABLE examples (
    arm TEXT NOT NULL,
    seed INTEGER NOT NULL,
    "values" BLOB NOT NULL,
    weights BLOB,
    PRIMARY KEY (arm, seed),
    FOREIGN KEY (arm, seed) REFERENCES members (arm, seed)
);
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
INSERT INTO "run" VALUES('checksum','19a7107c6ae6bd5974a863abdf840a521ec8f94fa51f431d8d4b23a9894a4851');
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
CREATE TABLE stopped_test_values (
    arm TEXT NOT NULL,
    seed INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    metric TEXT NOT NULL,
    value REAL,
    PRIMARY KEY (arm, seed, metric),
    FOREIGN KEY (arm, seed, epoch) REFERENCES epochs (arm, seed, epoch)
) WITHOUT ROWID;
CREATE TABLE test_values (
    arm TEXT NOT NULL,
    seed INTEGER NOT NULL,
    metric TEXT NOT NULL,
    value REAL,
    PRIMARY KEY (arm, seed, metric),
    FOREIGN KEY (arm, seed) REFERENCES members (arm, seed)
) WITHOUT ROWID;
INSERT INTO "test_values" VALUES('none',0,'accuracy',0.8);
INSERT INTO "test_values" VALUES('none',0,'ece',0.03);
INSERT INTO "test_values" VALUES('none',0,'loss',0.5);
COMMIT;
