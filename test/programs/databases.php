<?php
// What php-fpm runs for databases.test.ts; settings.json beside it says who is asked.
//
//   /mysqli/KIND/N   a connection for each request, its statements prepared
//   /kept/KIND/N     the same on a connection that outlives the request
//   /pdo/KIND/N      PDO, which prepares in the server          /emulated/KIND/N  PDO, which does not
//
// KIND is `read`, `write` or `two`. REGRESSION=value asks for another row, REGRESSION=table asks another table.

$account = json_decode(file_get_contents(__DIR__ . '/settings.json'), true)['mysql'];
$regression = getenv('REGRESSION');
[, $client, $kind, $number] = explode('/', $_SERVER['DOCUMENT_URI']);
$number = (int) $number + ($regression === 'value' ? 1 : 0);
$table = $regression === 'table' ? 'shrubs' : 'trees';

$read = "SELECT id, name, height FROM $table WHERE id = ?";
$write = 'INSERT INTO visits (tree, note) VALUES (?, ?)';
$count = 'SELECT COUNT(*) AS trees FROM trees WHERE height > ?';
$work = match ($kind) {
    'read' => [[$read, [$number]]],
    'write' => [[$write, [$number, "note $number"]]],
    'two' => [[$read, [$number]], [$count, [$number]]],
};

function by_mysqli(array $account, array $work, string $prefix): array
{
    mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
    $words = [$account['user'], $account['password'], $account['database'], $account['port']];
    $connection = new mysqli("{$prefix}127.0.0.1", ...$words);
    $connection->set_charset('utf8mb4');
    $answers = [];
    foreach ($work as [$sql, $values]) {
        $statement = $connection->prepare($sql);
        $statement->execute($values);
        $result = $statement->get_result();
        $answers[] = $result === false ? $statement->affected_rows : $result->fetch_all(MYSQLI_ASSOC);
        $statement->close();
    }
    return $answers;
}

function by_pdo(array $account, array $work, bool $emulated): array
{
    $name = "mysql:unix_socket={$account['socket']};dbname={$account['database']};charset=utf8mb4";
    $options = [PDO::ATTR_EMULATE_PREPARES => $emulated];
    $connection = new PDO($name, $account['user'], $account['password'], $options);
    $answers = [];
    foreach ($work as [$sql, $values]) {
        $statement = $connection->prepare($sql);
        $statement->execute($values);
        $answers[] = $statement->columnCount() === 0 ? $statement->rowCount() : $statement->fetchAll(PDO::FETCH_ASSOC);
    }
    return $answers;
}

header('Content-Type: application/json');
try {
    $answer = match ($client) {
        'mysqli' => by_mysqli($account, $work, ''),
        'kept' => by_mysqli($account, $work, 'p:'),
        'pdo' => by_pdo($account, $work, false),
        'emulated' => by_pdo($account, $work, true),
    };
} catch (Exception $error) {
    http_response_code(502);
    $answer = ['error' => get_class($error)];
}
$body = json_encode($answer);
header('Content-Length: ' . strlen($body));
echo $body;
