# needs: java
# seconds: 120
java -version
java -Xint -XshowSettings:none -version 2>&1 | head -1
